#!/bin/sh
# Removes files from an environment that Naru never reads: tests of packages, headers, sources of extensions.
set -eu
environment=$1
find "$environment/lib" -depth -type d \( -name tests -o -name test \) -path '*/site-packages/*' \
    -exec rm -rf {} +
find "$environment/lib" -depth -type d -name include -path '*/pyarrow/*' -exec rm -rf {} +
find "$environment/lib" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' -o -name '*.hpp' \
    -o -name '*.map' \) -path '*/site-packages/*' -delete
