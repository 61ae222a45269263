"""The data of report 001 as it had them: grey pictures of mels, and pairs of them."""
