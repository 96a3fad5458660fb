"""What `import seeing_words` offers: the one list of it, read by editors, type checkers and, through lazy_loader, by Python."""

from .measures.align import Alignment as Alignment
from .measures.align import align as align
from .measures.align import read_features as read_features
from .core.errors import InputError as InputError
from .core.arrays import feature_array as feature_array
from .models.baselines import bag_of_words as bag_of_words
from .models.extract import extract as extract
from .models.baselines import pixels as pixels
from .measures.claims import Claim as Claim
from .measures.inference import calibrate as calibrate
from .measures.inference import p_value as p_value
from .data.microworld.stimulus_set import microworld_stimuli as microworld_stimuli
from .models.load import load_model as load_model
from .plots import heatmaps as heatmaps
from .measures.folds import make_folds as make_folds
from .measures.predictivity import null_grid as null_grid
from .measures.predictivity import predictivity as predictivity
from .app.run import start as start
from .measures.similarity import cka as cka
from .measures.similarity import cka_debiased as cka_debiased
from .measures.similarity import mutual_knn as mutual_knn
from .measures.similarity import procrustes as procrustes
from .measures.similarity import rsa as rsa
from .measures.similarity import similarity_grid as similarity_grid
from .measures.similarity import svcca as svcca
from .data.stimuli import StimulusSet as StimulusSet

__version__: str
