/** What begins or ends a transaction or a part of one. */
const CONTROL: ReadonlySet<string> = new Set(['BEGIN', 'COMMIT', 'END', 'ROLLBACK', 'SAVEPOINT', 'RELEASE'])

/** Comments, and texts and names in any kind of quotes; then words, and what separates statements. */
const TOKEN = /--[^\n]*|\/\*[^]*?(?:\*\/|$)|'(?:[^']|'')*'?|"(?:[^"]|"")*"?|`(?:[^`]|``)*`?|\[[^\]]*\]?|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|;/g

/**
 * The word with which one of the statements of a text would begin or end a transaction, or undefined where none does.
 * A trigger's body has statements of its own and an `END`; they are part of it.
 */
export function transactionWord(sql: string): string | undefined {
  let words: string[] = []
  let isTrigger = false
  for (const [token] of sql.matchAll(TOKEN)) {
    const first = token[0] ?? ''
    if (token === ';') {
      if (!isTrigger || (words.at(-1) === 'END' && words.at(-2) === ';')) {
        words = []
        isTrigger = false
      } else words.push(';')
    } else if (/[A-Za-z_]/.test(first)) {
      const word = token.toUpperCase()
      if (words.length === 0 && CONTROL.has(word)) return word
      words.push(word)
      isTrigger ||= word === 'TRIGGER' && words.length <= 3 && words[0] === 'CREATE'
    } else if (first !== '-' && first !== '/') words.push('?')
  }
  return undefined
}
