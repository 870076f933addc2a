from . import core as core
from . import cutting as cutting
from . import io as io
from . import metrics as metrics
from . import network as network
from . import output as output
from . import points as points
from . import segmentation as segmentation
from . import synthetic as synthetic
from . import training as training
from .core.config import Config as Config
from .io.label_file import read_image as read_image
from .io.label_file import write_labels as write_labels
from .io.point_file import read_points as read_points
from .network.contributions import contributions as contributions
from .network.model import load_model as load_model
from .network.winners import winner_map as winner_map
from .points.likelihood import find_peaks as find_peaks
from .segmentation.batch import segment_files as segment_files
from .segmentation.evaluation import evaluate as evaluate
from .segmentation.pipeline import locate as locate
from .segmentation.pipeline import outline as outline
from .segmentation.pipeline import segment as segment
from .segmentation.tiled.tiling import segment_tiled as segment_tiled
from .training.trainer import train as train

__version__: str
