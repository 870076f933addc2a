"""A table of bad inputs, by subject: what is wrong, the command, its exit code, and words of what the user sees.

Each file of this folder has `CASES` and a function `make` that puts the bad files into a folder. In a command
RUN is a trained model and OUT a new folder; models are trained with settings that take little time.
"""

from types import ModuleType

from tests.end_to_end.bad_inputs import archives, images, pictures, points, results, runs, scores, settings, stains

SUBJECTS: dict[str, ModuleType] = {
    "Images": images,
    "Images that ask for too much": pictures,
    "OME-Zarr": archives,
    "Points": points,
    "Stains and channels": stains,
    "Settings": settings,
    "Run folders": runs,
    "Results and reports": results,
    "Scores, points and measurements": scores,
}

CASES = {name: case for subject in SUBJECTS.values() for name, case in subject.CASES.items()}
assert len(CASES) == sum(len(subject.CASES) for subject in SUBJECTS.values()), "two cases have one name"
