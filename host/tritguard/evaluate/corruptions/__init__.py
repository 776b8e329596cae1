"""The study of common corruptions: noise, blur, light and a coarser sensor, at five severities."""
