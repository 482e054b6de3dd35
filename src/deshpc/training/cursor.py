"""Where a run goes on: what a checkpoint keeps beside the model, as its manifest's `progress`.

Nothing random is kept: the order of an epoch, the first content of a row and generated samples are functions of seed,
epoch, key and column (`data.order`, `hashing.splitmix`), and a learning rate is one of the step.
"""

from dataclasses import asdict, dataclass, fields

from deshpc.errors import DataError


@dataclass(frozen=True)
class Cursor:
    """The next batch is number `batch` of epoch `epoch`.

    position : samples of the epoch before it
    block, row : the same place in the epoch's order, which seed and epoch
    determine: whole blocks before it, and rows of its own block
    steps : that made the model
    samples : that training has made
    train_rows : rows of the training part that are learnt from
    best_step, best_run : of the best model so far, and the run that wrote it, None without one
    stopping : state of `EarlyStopping`, None without
    first_step : steps of the model that the run started from (`train.from`)
    by_files : whether the epoch's order is that of files which are read block by block, and cannot be from any row on: it is another from memory
    stream : of a run that follows its training part: file, row and done of the Place (`data.growing`) at which the block begins, and of the
        first block of all the mean weight of samples and the keys of each field a sample; `Stream.piece_bytes`, and the bytes of the pieces
        before the block; then `block` is its number, `row` samples of it that were taken, and train_rows is 0
    """

    epoch: int = 0
    batch: int = 0
    position: int = 0
    block: int = 0
    row: int = 0
    steps: int = 0
    samples: int = 0
    train_rows: int = 0
    best_step: int | None = None
    best_run: str | None = None
    stopping: dict | None = None
    first_step: int = 0
    stream: dict | None = None
    by_files: bool = False

    def to_json(self):
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def from_manifest(cls, manifest, folder):
        """The Cursor of a checkpoint's manifest; DataError for the manifest of a model that no run goes on from."""
        progress = manifest["progress"]
        if not isinstance(progress, dict) or {"first_step", "stream", "by_files", *progress} != {one.name for one in fields(cls)}:
            raise DataError(f"{folder}: is not a checkpoint: its manifest does not say where the run goes on")
        return cls(**progress)

    def require_place(self, batch_samples, folder):
        """DataError unless a run whose batches have so many samples comes to this place by these steps."""
        if self.stream is not None:
            self._require_place_of_stream(batch_samples, folder)
            return
        batches = -(-self.train_rows // batch_samples)
        place = self.batch * batch_samples, self.epoch * batches + self.batch, self.epoch * self.train_rows + self.position
        steps = self.steps - self.first_step
        if self.batch >= max(1, batches) or place != (self.position, steps, self.samples):
            raise DataError(
                f"{folder}: damaged: batch {self.batch} of epoch {self.epoch} is not after {steps} steps and {self.samples} samples"
            )

    def _require_place_of_stream(self, batch_samples, folder):
        steps = self.steps - self.first_step
        whole = self.batch == steps and self.position == self.samples <= steps * batch_samples and self.row <= self.position
        if not whole or self.epoch or self.train_rows:
            raise DataError(f"{folder}: damaged: batch {self.batch} of a stream is not after {steps} steps and {self.samples} samples")
