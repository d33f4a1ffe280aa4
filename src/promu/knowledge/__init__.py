"""Language models asked about posts: any OpenAI-compatible endpoint, what it answered kept, nothing paid twice."""
