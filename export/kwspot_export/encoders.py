"""Which encoder a student's settings stand for."""

from kwspot_export.recipe import Student, Transformer
from kwspot_export.student import ConvEncoder, Encoder
from kwspot_export.transformer import TransformerEncoder

ENCODERS = {Student: ConvEncoder, Transformer: TransformerEncoder}


def build_encoder(mels: int, size: Student | Transformer) -> Encoder:
    """Build the encoder, with random weights, for features of `mels` bands."""
    return ENCODERS[type(size)](mels, size)
