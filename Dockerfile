# The workers' image of docs/scaling.md: docker build -t nas:0.1.0 .
FROM python:3.12-slim

WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY nas nas
COPY app app
COPY search_spaces search_spaces
RUN pip install --no-cache-dir --constraint constraints.txt '.[data,export,postgresql,s3]'

# A worker needs no root, and writes to the volumes that are mounted and to its cache only.
RUN useradd --create-home nas
USER nas
WORKDIR /home/nas
ENTRYPOINT ["nas"]
CMD ["--help"]
