"""Every station of a step fulfils its contract: the members of the `typing.Protocol`, and methods with its arguments by its names."""

import ast
import inspect
import textwrap

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
from deshpc.route.requests import BroadcastRequests, RoutedRequests
from deshpc.route.routing import Broadcast, Routed
from deshpc.route.selection import WithReplicatedFields
from deshpc.table.contract import RowStore
from deshpc.table.replicated import PartlyReplicated
from deshpc.table.table import Table
from deshpc.table.table_set import TableSet
from deshpc.top.contract import Top
from deshpc.top.sum import SumTop
from deshpc.top.tower import Tower

STATIONS = {
    Routing: [Broadcast, Routed, BroadcastRequests, RoutedRequests, WithReplicatedFields],
    RowStore: [Table, TableSet, PartlyReplicated],
    Operators: [OwnerTower],
    BoundedOperators: [OperatorSet, BySamples],
    Exchange: [*EXCHANGES.values(), WithReplicated],
    Top: [SumTop, Tower],
    Accumulation: [FloatingPoint, FixedPoint],
}


def attributes(kind):
    """Names that a class and its bases define, or assign to self."""
    found = set(dir(kind))
    for base in kind.__mro__[:-1]:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base)))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
                found.add(node.attr)
    return found


def broken(contract, kind):
    """What a class lacks of a contract, as text."""
    members = {name: base for base in contract.__mro__ for name in {*getattr(base, "__annotations__", {}), *vars(base)}}
    for name in sorted(name for name in members if not name.startswith("_")):
        if name not in attributes(kind):
            yield f"{kind.__name__} lacks {name}"
        elif name in vars(members[name]):
            wanted, found = (list(inspect.signature(getattr(one, name)).parameters.values()) for one in (contract, kind))
            if [one.name for one in found[: len(wanted)]] != [one.name for one in wanted]:
                yield f"{kind.__name__}.{name} takes {[one.name for one in found]}, not {[one.name for one in wanted]}"
            elif any(one.default is one.empty for one in found[len(wanted) :]):
                yield f"{kind.__name__}.{name} asks for more than {[one.name for one in wanted]}"


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
