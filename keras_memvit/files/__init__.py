"""Files and folders that are whole or not there at all; what killed writers leave.

Imports the standard library; huggingface_hub where a handle is used.
"""
