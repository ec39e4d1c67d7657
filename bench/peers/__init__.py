"""What users would otherwise run, each as a good user of the library would write it; the pattern is named on top."""
