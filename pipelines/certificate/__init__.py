"""The certificate: proof, hop by hop, that the lake holds what the source committed."""
