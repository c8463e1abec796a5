# Flower with MetaEM's server and devices: SuperLink, SuperNode and the processes they start.
#   docker build --file docker/flower.Dockerfile --tag metaem-flower .
#   docker run metaem-flower flower-superlink --help
FROM python:3.11.14-slim-bookworm
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 \
    FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 \
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 OMP_NUM_THREADS=1 FLWR_HOME=/var/lib/metaem/flwr
COPY docker/flower.txt /opt/metaem/docker/flower.txt
RUN pip install --requirement /opt/metaem/docker/flower.txt
COPY pyproject.toml README.md LICENSE /opt/metaem/
COPY metaem_core /opt/metaem/metaem_core
COPY data_contracts /opt/metaem/data_contracts
COPY tasks /opt/metaem/tasks
COPY flows /opt/metaem/flows
RUN pip install setuptools==84.2.1 && pip install --no-deps --no-build-isolation /opt/metaem \
    && useradd --system --uid 10001 --home-dir /var/lib/metaem --create-home metaem
USER 10001
WORKDIR /var/lib/metaem
CMD ["flower-superlink", "--help"]
