"""What is recorded of a processor."""

from initopt_jax.engine import processor as module


def test_processor_is_told_by_model_and_vector_sets(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(module, "CPU_INFO", info)
    info.write_text(
        "processor\t: 0\nmodel name\t: Fast 9000\nflags\t\t: fpu sse4_2 avx2 avx fma rdtscp smep\n"
        "\nprocessor\t: 1\nmodel name\t: Other\nflags\t: fpu\n"
    )
    assert module.processor() == {
        "model": "Fast 9000",
        "vector": ["avx", "avx2", "fma", "sse4_2"],
    }
    info.write_text(
        "processor : 0\nFeatures : fp asimd sve\nCPU implementer : 0x41\nCPU part : 0xd0c\n"
    )
    assert module.processor() == {"model": "0x41 0xd0c", "vector": ["asimd", "sve"]}
    info.unlink()
    assert module.processor()["vector"] == []
