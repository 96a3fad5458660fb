"""What `import seeing_words` offers: the one list of it, read by editors, type checkers and, through lazy_loader, by Python."""

from .app.presets import Preset as Preset
from .app.presets import get_preset as get_preset
from .app.run import start as start
from .core.arrays import feature_array as feature_array
from .core.errors import InputError as InputError
from .data.microworld.stimulus_set import microworld_stimuli as microworld_stimuli
from .data.modalities import as_modalities as as_modalities
from .data.perturb import perturb as perturb
from .data.sources import coco_stimuli as coco_stimuli
from .data.sources import folder_stimuli as folder_stimuli
from .data.stimuli import StimulusSet as StimulusSet
from .measures.align import Alignment as Alignment
from .measures.align import align as align
from .measures.align import read_features as read_features
from .measures.claims import Claim as Claim
from .measures.folds import Folds as Folds
from .measures.folds import make_folds as make_folds
from .measures.inference import best_pair as best_pair
from .measures.inference import calibrate as calibrate
from .measures.inference import max_p_value as max_p_value
from .measures.inference import noise_ceiling as noise_ceiling
from .measures.inference import p_value as p_value
from .measures.inference import resample_weights as resample_weights
from .measures.predictivity import null_grid as null_grid
from .measures.predictivity import predictivity as predictivity
from .measures.predictivity import predictivity_grid as predictivity_grid
from .measures.scores import interval as interval
from .measures.scores import make_scores as make_scores
from .measures.scores import tidy as tidy
from .measures.similarity import cka as cka
from .measures.similarity import cka_debiased as cka_debiased
from .measures.similarity import mutual_knn as mutual_knn
from .measures.similarity import procrustes as procrustes
from .measures.similarity import rsa as rsa
from .measures.similarity import similarity_grid as similarity_grid
from .measures.similarity import similarity_null as similarity_null
from .measures.similarity import svcca as svcca
from .models.baselines import bag_of_words as bag_of_words
from .models.baselines import pixels as pixels
from .models.extract import extract as extract
from .models.load import Model as Model
from .models.load import load_model as load_model
from .models.store import Store as Store
from .plots import heatmaps as heatmaps

__version__: str
