from .audio.io import read_audio as read_audio
from .audio.io import write_audio as write_audio
from .audio.waveform import Audio as Audio
from .errors import AudioError as AudioError
from .errors import InputError as InputError
from .errors import MissingDependencyError as MissingDependencyError
from .errors import ModelError as ModelError
from .errors import TimbrelError as TimbrelError
from .pipelines.accompany import AccompanyPipeline as AccompanyPipeline
from .pipelines.accompany import accompany as accompany
from .pipelines.cross import load_cross as load_cross
from .pipelines.duet import DuetPipeline as DuetPipeline
from .pipelines.duet import duet as duet
from .pipelines.generate import GeneratePipeline as GeneratePipeline
from .pipelines.settings import AccompanySettings as AccompanySettings
from .pipelines.settings import DuetSettings as DuetSettings
from .pipelines.settings import GenerateSettings as GenerateSettings
from .pipelines.settings import Method as Method
from .pipelines.settings import TransferSettings as TransferSettings
from .pipelines.stems import Stems as Stems
from .pipelines.transfer import TransferPipeline as TransferPipeline
from .pipelines.transfer import add_instrument as add_instrument
from .pipelines.transfer import load as load
from .pipelines.transfer import transfer as transfer
from .systems.listing import ModelInfo as ModelInfo
from .systems.listing import list_models as list_models

__version__: str
