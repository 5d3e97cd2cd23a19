"""How results are shown: charts, images, one page, tables as files, generated Markdown."""
