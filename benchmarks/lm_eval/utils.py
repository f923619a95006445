"""What the YAML files of this folder call; the work is done in tuna_eval."""

from tuna_eval.tasks.lm_eval_tasks import doc_to_target, doc_to_text, load_superni, process_superni

__all__ = ["doc_to_target", "doc_to_text", "load_superni", "process_superni"]
