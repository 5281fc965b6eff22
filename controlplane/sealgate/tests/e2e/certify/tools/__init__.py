"""The tools of the matrix, in the order of its tables."""

from ..cases import Tool
from .awscli import Awscli1, Awscli2
from .boto import Boto3

TOOLS: list[type[Tool]] = [Boto3, Awscli1, Awscli2]
