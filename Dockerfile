# One image for everything of our own: worker, gateway, Dagster, Connect and the command line.
FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends openjdk-17-jre-headless maven \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY scripts scripts
COPY jars jars
COPY pyproject.toml requirements.lock README.md ./
RUN scripts/setup python jars

FROM python:3.11-slim-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends openjdk-17-jre-headless procps \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --create-home millrace \
 && mkdir -p /data/dagster && chown -R millrace /data
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY --from=build /app/.jars .jars
COPY . .
# Connect wants a folder of plugin folders, and nothing else in it.
RUN mkdir plugins && ln -s /app/.jars/debezium plugins/debezium \
 && ln -s /app/millrace/stack/conf/dagster.yaml /data/dagster/dagster.yaml
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MILLRACE_HOME=/data \
    MILLRACE_JARS=/app/.jars
USER millrace
VOLUME /data
ENTRYPOINT []
CMD ["millrace", "--help"]
