"""What schemathesis sends where a document of any type may be sent."""

import schemathesis


@schemathesis.serializer("*/*")
def anything(context, value):
    return value if isinstance(value, bytes) else str(value).encode()
