"""Language models behind an OpenAI-compatible endpoint: answers are stored, and nothing is paid for twice."""
