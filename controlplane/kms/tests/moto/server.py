"""moto's server with one correction.

A multi-Region key's id is `mrk-` and 32 hexadecimal digits
(https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id-key-id). moto leaves the dashes of a UUID
in, and then cuts the id off in its own wrapped keys, which have room for 36 characters: it cannot decrypt them.
"""

import re
import sys

import moto.kms.models as models
from moto.kms.responses import KmsResponse
from moto.server import main

made = models.generate_key_id
validate = KmsResponse._validate_cmk_id


def generate_key_id(multi_region=False):
    name = made(multi_region)
    return f"mrk-{name[4:].replace('-', '')}" if multi_region else name


def validate_key_id(self, name):
    # moto asks that an id have dashes, of an ARN it does not.
    if re.fullmatch("mrk-[0-9a-f]{32}", name):
        name = f"arn:aws:kms:{self.region}:{self.current_account}:key/{name}"
    return validate(self, name)


models.generate_key_id = generate_key_id
KmsResponse._validate_cmk_id = validate_key_id

if __name__ == "__main__":
    main(sys.argv[1:])
