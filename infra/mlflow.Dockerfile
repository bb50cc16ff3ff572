# The tracking server for several writers: Postgres behind, artifacts in S3, hosts named.
#   docker build -f infra/mlflow.Dockerfile -t nitrogen-mlflow:0.1.0 .
#   docker run -e BACKEND=postgresql://... -e ARTIFACTS=s3://bucket/mlflow -e HOSTS=mlflow.example \
#     -p 127.0.0.1:5000:5000 nitrogen-mlflow:0.1.0
FROM python:3.11-slim-bookworm
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt /opt/constraints.txt
RUN pip install --constraint /opt/constraints.txt mlflow boto3 && pip install "psycopg2-binary>=2.9,<3"
RUN useradd --create-home --uid 1000 mlflow
USER 1000
WORKDIR /home/mlflow
ENV MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
EXPOSE 5000
CMD ["sh", "-c", "exec mlflow server --host 0.0.0.0 --port 5000 --backend-store-uri \"$BACKEND\" --artifacts-destination \"$ARTIFACTS\" --allowed-hosts \"$HOSTS\""]
