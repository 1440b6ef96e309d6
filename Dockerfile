# Photographs without Python on the machine, for a processor (PyTorch without CUDA):
#   docker build -t demoe .
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/photos" demoe deblur photo.jpg -o restored
# For an NVIDIA GPU: docker build --build-arg TORCH=auto -t demoe . on a machine that has one, and docker run --gpus all ...
FROM python:3.13-slim
ARG TORCH=cpu
COPY . /demoe
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache --torch-backend "$TORCH" /demoe
ENV HOME=/tmp
WORKDIR /photos
ENTRYPOINT ["demoe"]
