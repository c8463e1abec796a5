# Target servers: Prefect's and MLflow's. Target worker: what runs flows, on CPUs.
#   docker build --file docker/metaem.Dockerfile --target worker --tag metaem-worker .
FROM python:3.11.14-slim-bookworm AS servers
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_HOME=/tmp/prefect
COPY constraints.txt /opt/metaem/constraints.txt
RUN pip install --constraint /opt/metaem/constraints.txt \
        prefect mlflow fastapi asyncpg psycopg2-binary Flask-WTF \
    && useradd --system --uid 10001 --home-dir /var/lib/metaem --create-home metaem
COPY docker/mlflow-auth.ini /opt/metaem/docker/mlflow-auth.ini
USER 10001
WORKDIR /var/lib/metaem

FROM servers AS worker
ENV OMP_NUM_THREADS=1 MPLCONFIGDIR=/tmp/matplotlib
USER root
RUN pip install --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
COPY pyproject.toml README.md LICENSE prefect.yaml /opt/metaem/
COPY metaem_core /opt/metaem/metaem_core
COPY data_contracts /opt/metaem/data_contracts
COPY tasks /opt/metaem/tasks
COPY flows /opt/metaem/flows
RUN pip install --constraint /opt/metaem/constraints.txt /opt/metaem
USER 10001
