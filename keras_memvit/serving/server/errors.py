"""What is wrong with a request, as the status that HTTP has for it."""


class RequestError(Exception):
    """An answer that is no answer.

    Args:
        status: int, the HTTP status.
        reason: str, one line that a person understands.
        retry_after: optional int, seconds after which to ask again.
    """

    def __init__(self, status, reason, retry_after=None):
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


def busy(reason):
    """The request may be right; this is not the time."""
    return RequestError(503, reason, retry_after=1)
