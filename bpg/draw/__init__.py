"""A local page to draw strokes on one's own images, with the answer of a model beside them."""
