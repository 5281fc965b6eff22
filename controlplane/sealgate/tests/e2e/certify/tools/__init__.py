"""The tools of the matrix, in the order of its tables."""

from ..cases import Tool
from .archives import Duplicity, RcloneMount, Restic, S3fs
from .awscli import Awscli1, Awscli2
from .boto import Boto3
from .copiers import Mc, Rclone, S3cmd, S5cmd
from .minio_py import MinioPy
from .sdks import AwsGo, AwsJava, AwsJs, AwsRust, MinioJs, Mountpoint, ObjectStore

PROGRAMS: list[type[Tool]] = [Awscli1, Awscli2, S5cmd, Rclone, S3cmd, Mc, Restic, Duplicity, S3fs, RcloneMount]
LIBRARIES: list[type[Tool]] = [Boto3, MinioPy, MinioJs, AwsJs, AwsGo, AwsJava, AwsRust, ObjectStore, Mountpoint]
TOOLS = [*PROGRAMS, *LIBRARIES]
