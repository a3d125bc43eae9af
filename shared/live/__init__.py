"""The live stream of an answer: text on its way to the eyes, never the truth. Events here, the worker's publisher here;
the reader is web's."""
