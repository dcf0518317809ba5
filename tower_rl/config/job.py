"""Whether this process is a Ray job."""

import os

SIGN = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray's supervisor of a submitted job sets this variable for its entrypoint (ray 2.60, job_supervisor.py)."""


def in_ray_job() -> bool:
    """Whether `ray job submit` started this process: it then runs on the cluster, in a folder that may end with the job."""
    return SIGN in os.environ
