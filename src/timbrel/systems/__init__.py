"""What a model folder may hold: each system by the name that its config.json has, and the place of its class."""

SYSTEMS = {
    "transfer": "timbrel.systems.transfer:TransferSystem",
    "report_001": "timbrel.systems.report_001:Report001System",
    "single": "timbrel.systems.single:SingleSystem",
    "generate": "timbrel.systems.generate:GenerateSystem",
    "picture": "timbrel.systems.picture:PictureSystem",
    "codec": "timbrel.systems.alone:CodecSystem",
    "features": "timbrel.systems.alone:FeaturesSystem",
    "listener": "timbrel.systems.alone:ListenerSystem",
}

HUB = "hf:"
"""Before the name of what is on the Hugging Face hub: a model USER/NAME, or a file of another network."""
