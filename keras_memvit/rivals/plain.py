"""A rival as a plain model, for what it learned to be written into its weights."""

from keras_memvit.rivals.head import Head


def plain(rival):
    """A head on a backbone of its own, with the weights of a rival's."""
    model = Head(rival.backbone.replicate(), rival.head.units)
    model.build((None, *model.backbone.image_shape))
    for own, weight in zip(model.head.weights, rival.head.weights, strict=True):
        own.assign(weight)
    return model
