"""python-gitlab: walks over the whole listing once for each line on standard input. Arguments: URL, token."""

import sys

import gitlab

gl = gitlab.Gitlab(sys.argv[1], private_token=sys.argv[2])
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
