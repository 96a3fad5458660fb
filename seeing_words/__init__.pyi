"""What `import seeing_words` offers: the one list of it, read by editors, type checkers and, through lazy_loader, by Python."""

from .alignment import Alignment as Alignment
from .alignment import align as align
from .alignment import read_features as read_features
from .arrays import InputError as InputError
from .arrays import feature_array as feature_array
from .features import bag_of_words as bag_of_words
from .features import extract as extract
from .features import pixels as pixels
from .inference import Claim as Claim
from .inference import calibrate as calibrate
from .inference import p_value as p_value
from .microworld import microworld_stimuli as microworld_stimuli
from .models import load_model as load_model
from .plots import heatmaps as heatmaps
from .predictivity import make_folds as make_folds
from .predictivity import null_grid as null_grid
from .predictivity import predictivity as predictivity
from .run import start as start
from .similarity import cka as cka
from .similarity import cka_debiased as cka_debiased
from .similarity import mutual_knn as mutual_knn
from .similarity import procrustes as procrustes
from .similarity import rsa as rsa
from .similarity import similarity_grid as similarity_grid
from .similarity import svcca as svcca
from .stimuli import StimulusSet as StimulusSet

__version__: str
