"""python-gitlab: the first line on standard input is the token; for each further one it walks over the whole listing once.

Argument: URL.
"""

import sys

import gitlab

gl = gitlab.Gitlab(sys.argv[1], private_token=sys.stdin.readline().strip())
for _ in sys.stdin:
    found = gl.projects.list(
        iterator=True,
        membership=True,
        archived=False,
        pagination="keyset",
        order_by="id",
        sort="asc",
        per_page=100,
    )
    print(len(list(found)), flush=True)
