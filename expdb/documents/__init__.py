"""Living Markdown pages: markers in, tables, plots, numbers and lists of runs out.

`markers` finds them in a page's text, `contents` works out what stands between them, `pictures` draws what they name,
`files` keeps every other byte, `syncing` brings pages up to the database or says what is stale, `posts` begins a page.
"""
