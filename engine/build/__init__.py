"""Building images from Dockerfiles: `docker build`.

    dockerfile syntax stages arguments ignore metadata history options progress     decide (no I/O)
    context trees fetching                                                          what there is to build from
    bench origins steps running mounting copying owners squashing cache             do it, a step at a time
    builder                                                                         the front

The command line uses `ignore` of this package, and nothing else; the front is imported from `engine.build.builder`.
"""
