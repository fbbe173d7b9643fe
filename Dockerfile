# One image for every role of samestream; docker-compose.yml says which role a container runs.
FROM python:3.12-slim

WORKDIR /app
RUN useradd --create-home --uid 1000 samestream && mkdir /data && chown samestream /data

COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY streams streams
COPY trainers trainers
COPY monitors monitors
COPY console console
COPY examples examples
RUN pip install --no-cache-dir .

USER samestream
ENV SAMESTREAM_FOLDER=/data PYTHONUNBUFFERED=1
VOLUME /data
# SIGTERM drains: the batch under way is committed before the container ends.
STOPSIGNAL SIGTERM
ENTRYPOINT ["samestream"]
CMD ["--help"]
