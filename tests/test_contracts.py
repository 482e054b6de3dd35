"""Every station of a step fulfils its contract: the members of the `typing.Protocol`, and methods with its arguments by its names."""

import ast
import inspect
import pkgutil
import textwrap
from importlib import import_module

import pytest

from deshpc.exchange.contract import Exchange
from deshpc.exchange.kinds import EXCHANGES
from deshpc.exchange.with_replicated import WithReplicated
from deshpc.model.accumulation import Accumulation, FloatingPoint
from deshpc.model.fixed_point import FixedPoint
from deshpc.ops.by_samples import BySamples
from deshpc.ops.contract import BoundedOperators, Operators
from deshpc.ops.operator_set import OperatorSet
from deshpc.ops.owner_tower import OwnerTower
from deshpc.route.contract import Routing
from deshpc.route.near import RoutedNear
from deshpc.route.requests import BroadcastRequests, RoutedRequests
from deshpc.route.routing import Broadcast, Routed
from deshpc.route.selection import WithReplicatedFields
from deshpc.table.contract import RowStore
from deshpc.table.replicated import PartlyReplicated, ReplicatedTable
from deshpc.table.table import Table
from deshpc.table.table_set import TableSet
from deshpc.top.contract import Top
from deshpc.top.sum import SumTop
from deshpc.top.tower import Tower

STATIONS = {
    Routing: [Broadcast, Routed, RoutedNear, BroadcastRequests, RoutedRequests, WithReplicatedFields],
    RowStore: [Table, TableSet, ReplicatedTable, PartlyReplicated],
    Operators: [OwnerTower],
    BoundedOperators: [OperatorSet, BySamples],
    Exchange: [*EXCHANGES.values(), WithReplicated],
    Top: [SumTop, Tower],
    Accumulation: [FloatingPoint, FixedPoint],
}


def attributes(kind):
    """Names that a class and its bases define, or assign to self."""
    found = set(dir(kind))
    for base in (one for one in kind.__mro__ if one.__module__ != "builtins"):
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base)))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
                found.add(node.attr)
    return found


def members(contract):
    """{name: its class} of all that a contract asks for."""
    named = {name: base for base in contract.__mro__ for name in {*getattr(base, "__annotations__", {}), *vars(base)}}
    return {name: named[name] for name in sorted(named) if not name.startswith("_")}


def broken(contract, kind):
    """What a class lacks of a contract, as text."""
    for name, base in members(contract).items():
        if name not in attributes(kind):
            yield f"{kind.__name__} lacks {name}"
        elif name in vars(base):
            wanted, found = (list(inspect.signature(getattr(one, name)).parameters.values()) for one in (contract, kind))
            if [one.name for one in found[: len(wanted)]] != [one.name for one in wanted]:
                yield f"{kind.__name__}.{name} takes {[one.name for one in found]}, not {[one.name for one in wanted]}"
            elif any(one.default is one.empty for one in found[len(wanted) :]):
                yield f"{kind.__name__}.{name} asks for more than {[one.name for one in wanted]}"


def stations(contract):
    """Classes in the package of a contract that have all that it asks for."""
    package = import_module(contract.__module__.rpartition(".")[0])
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        found = [one for one in vars(import_module(module.name)).values() if inspect.isclass(one) and one.__module__ == module.name]
        yield from (one for one in found if one not in STATIONS and members(contract).keys() <= attributes(one))


@pytest.mark.parametrize("contract", STATIONS)
def test_no_station_is_left_out(contract):
    assert {*stations(contract)} == {kind for one, kinds in STATIONS.items() if contract in one.__mro__ for kind in kinds}


@pytest.mark.parametrize("contract, kind", [(contract, kind) for contract, kinds in STATIONS.items() for kind in kinds])
def test_stations_fulfil_their_contracts(contract, kind):
    assert list(broken(contract, kind)) == []


def test_the_check_sees_what_is_missing_and_what_is_called_otherwise():
    class Odd:
        whole_top = True

        def start(self, found, factor):
            pass

        def give_back(self, found, partials, gradient, scale, more):
            pass

    assert [one.split(" ", 1)[1].split("[")[0].strip() for one in broken(Exchange, Odd)] == ["asks for more than", "lacks moves_rows", "takes"]
