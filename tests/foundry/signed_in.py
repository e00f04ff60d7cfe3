#!/usr/bin/env python3
"""Runs a sample as if somebody were signed in to Azure, with the token in STUB_TOKEN.

usage: signed_in.py SAMPLE [ARGUMENT…]
"""

import os
import runpy
import sys
import time

import azure.identity
from azure.core.credentials import AccessToken, AccessTokenInfo

SCOPE = "https://ai.azure.com/.default"


class SignedIn:
    """Stands for DefaultAzureCredential, and gives its token for the scope of Foundry only."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_token(self, *scopes, **_):
        return AccessToken(token_for(scopes), int(time.time()) + 3600)

    def get_token_info(self, *scopes, **_):
        return AccessTokenInfo(token_for(scopes), int(time.time()) + 3600)


def token_for(scopes) -> str:
    if scopes != (SCOPE,):
        raise ValueError(f"a token was asked for {scopes}")
    return os.environ["STUB_TOKEN"]


azure.identity.DefaultAzureCredential = SignedIn
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
