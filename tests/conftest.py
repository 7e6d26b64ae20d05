"""What must be in the environment before the first import of torch, transformers or prefect."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # on few cores, threads of torch and FAISS only fight
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
