# By digest, as are the images of docker-compose.yml: `make images` compares each with its tag and says how to renew it.
FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea AS build
WORKDIR /src
# `--build-arg LOCK=archive` makes the image of `leadpulse archive`: with DuckDB, PyArrow and S3, which workers do without.
ARG LOCK=run
COPY requirements/build.lock requirements/run.lock requirements/archive.lock requirements/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements/build.lock -r requirements/${LOCK}.lock
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY schemas schemas
COPY grids grids
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --no-index . \
    && /venv/bin/pip uninstall --yes setuptools

FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea
RUN useradd --system --uid 10001 --no-create-home leadpulse \
    && install -d -o 10001 -m 700 /var/lib/leadpulse/checkpoints /var/lib/leadpulse/archive
COPY --from=build /venv /venv
WORKDIR /app
COPY grids grids
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LEADPULSE_METRICS_HOST=0.0.0.0 \
    LEADPULSE_METRICS_PORT=8080 \
    LEADPULSE_COLLECT_HOST=0.0.0.0 \
    LEADPULSE_COLLECT_PORT=8090
USER 10001
EXPOSE 8080
EXPOSE 8090
# Alive, not ready: a worker that waits for Redis must not be restarted for it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['LEADPULSE_METRICS_PORT'] + '/livez', timeout=4)"]
ENTRYPOINT ["leadpulse"]
CMD ["run"]
