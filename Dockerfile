# A Prefect worker with everything that the flows need. It takes no store and no secrets along:
#   docker build -t tokencompose .
#   docker run --gpus all -e PREFECT_API_URL=http://server:4280/api -e WORK_POOL=gpu \
#     -e TOKENCOMPOSE_STORE=s3://bucket/store -v cache:/srv/cache tokencompose
FROM python:3.11-slim

# g++ is for packages that come as source.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make g++ \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --home-dir /srv/user tokencompose \
    && mkdir -p /srv/tokencompose /srv/cache \
    && chown tokencompose /srv/tokencompose /srv/cache
USER tokencompose
WORKDIR /srv/tokencompose
COPY --chown=tokencompose . .
RUN make .venv/.ready

# Jobs of a Kubernetes or cloud pool start `prefect` by this path.
ENV PATH=/srv/tokencompose/.venv/bin:$PATH \
    TOKENCOMPOSE_CACHE=/srv/cache \
    DO_NOT_TRACK=1 \
    WORK_POOL=cpu \
    RUNS_AT_ONCE=1
# Copies of stored files, and checkpoints of unfinished trainings.
VOLUME /srv/cache
CMD ["sh", "-c", "exec prefect worker start --pool \"$WORK_POOL\" --limit \"$RUNS_AT_ONCE\""]
