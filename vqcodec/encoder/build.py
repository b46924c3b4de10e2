"""Construction of the encoder that a model and an effort need."""

from __future__ import annotations

from ..config.effort import EFFORT, ONE_PASS
from ..config.quantizers import ProductVQConfig
from ..image.picture import Picture
from ..inference.networks import pixels_to_latent
from ..models import loading
from ..models.ladder import ladder
from ..tokens.tokens import can_map, has_step
from .adaptive_layers import AdaptiveLayers
from .base import PictureEncoder
from .codeword_distances import CodewordDistances
from .expected_work import expect_file
from .index_encoder import IndexEncoder
from .latent import encode_latent
from .latent_refinement import prepare as prepare_refinement
from .nearest_encoder import NearestEncoder
from .selectors import ContextSelector, IndividualSelector, Selector

INDEX_PASSES = {6: 2, 7: 4, 8: 6, 9: 10}
"""Passes of latent refinement of index models by effort; none below."""
SCALAR_PASSES = {6: 1, 7: 2, 8: 4, 9: 10}
"""Passes of latent refinement of scalar models by effort, of pictures beyond half of SMALL_PX; none below."""
SELECTED_DRAFTS = 7
"""Lowest effort whose passes start from selected values of scalar models instead of rounded ones."""
SMALL_PX = 5 * 2**19
"""A picture that fits n > 1 times into so many pixels has n times the passes, each from selected values: it then takes
about as long as a larger one."""
MOST_REPEATED, MOST_PASSES = 10, 20
"""Largest n, and most passes of scalar models."""
ADAPTIVE_LAYERS = 7
"""Lowest effort that leaves out layers block by block."""
UNREFINED = ONE_PASS
"""Highest effort without latent refinement."""


def encoder_for(picture: Picture, name: str, device: str = "cpu", effort: int = EFFORT) -> PictureEncoder:
    """The encoder of `picture` under the model called `name` or in the folder `name`, at `effort` 1..9.

    Runs the encoder network once. Raises ModelError, LimitError.
    """
    model = loading.load_model(name, device)
    if has_step(model.config):
        from .scalar_encoder import ScalarEncoder

        passes, selected = scalar_passes(effort, picture.width * picture.height)
        expect_file(picture, model, passes, passes if selected else 0)
        if passes:
            prepare_refinement(model, picture)
        return ScalarEncoder(picture, model, name, pixels_to_latent(model, picture.pixels), passes, selected)
    passes = index_passes(model, effort)
    expect_file(picture, model, passes)
    if not has_index_search(model):
        return NearestEncoder(picture, model, name, ladder(model.config))
    return index_encoder(picture, model, name, effort)


def scalar_passes(effort: int, pixels: int) -> tuple[int, bool]:
    """Passes of latent refinement of a scalar model at `effort` 1..9 for a picture of `pixels` px, 0..MOST_PASSES.

    Returns them, and whether they start from selected values instead of rounded ones.
    """
    repeated = max(1, min(MOST_REPEATED, SMALL_PX // pixels))
    passes = min(MOST_PASSES, SCALAR_PASSES.get(effort, 0) * repeated)
    return passes, repeated > 1 or effort >= SELECTED_DRAFTS


def index_passes(model: loading.Model, effort: int) -> int:
    """Passes of latent refinement of an index model at `effort` 1..9."""
    return INDEX_PASSES.get(effort, 0) if has_index_search(model) else 0


def has_index_search(model: loading.Model) -> bool:
    """True for models of `IndexEncoder`: codewords have costs in bits, and the tokens of a picture are one grid.

    False for scalar models, whose encoder searches over values instead of indices.
    """
    config = model.config.tokenizer
    return isinstance(config.quantizer, ProductVQConfig) and model.product.has_rate_term and not config.window_px


def index_encoder(picture: Picture, model: loading.Model, name: str, effort: int) -> IndexEncoder:
    """The encoder of a model for which `has_index_search` is true, with the selectors that `effort` 1..9 needs.

    Models with adaptive tables: each index is selected by itself. Models with a context model: indices are selected
    under the context model at every effort, because indices selected by themselves take several times the bits under
    it, and selection by itself is not faster. From effort ADAPTIVE_LAYERS on, blocks may leave out their last layers.
    """
    codewords = CodewordDistances(model.product)
    individual = IndividualSelector(model)
    draft: Selector = individual
    final: Selector = individual
    if model.entropy.kind == "context" and codewords.has_weights:
        draft = final = context = ContextSelector(model, codewords)
        if effort >= ADAPTIVE_LAYERS and can_map(model):
            final = AdaptiveLayers(context, model, picture)
    passes = index_passes(model, effort)
    if passes:
        prepare_refinement(model, picture)
    latent = encode_latent(model, picture.pixels)
    return IndexEncoder(
        picture,
        model,
        name,
        latent,
        first_pass_selector=individual,
        draft_selector=draft,
        final_selector=final,
        passes=passes,
    )
