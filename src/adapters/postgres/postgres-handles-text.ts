/**
 * A value in a form that every library passes on unchanged: an array as PostgreSQL's own text, anything else as it is. What libraries make of
 * arrays differs, and depends on their options.
 */
export function arrayText(value: unknown): unknown {
  return Array.isArray(value) ? `{${value.map(element).join(',')}}` : value
}

function element(value: unknown): string {
  if (value === null || value === undefined) return 'NULL'
  if (Array.isArray(value)) return `{${value.map(element).join(',')}}`
  if (value instanceof Uint8Array) return `"\\\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}"`
  return typeof value === 'string' ? `"${value.replaceAll(/["\\]/g, '\\$&')}"` : JSON.stringify(value)
}

/** A statement with question marks for parameters: each place has a value of its own. */
export interface QuestionedStatement {
  readonly text: string
  readonly values: readonly unknown[]
}

/** Rewrites `$1` to `?`; a question mark that is an operator is escaped. */
export function questioned(text: string, values: readonly unknown[]): QuestionedStatement {
  const used: unknown[] = []
  const rewritten = text.replaceAll(/\?|\$(\d+)/g, (found: string, place: string | undefined) => {
    if (place === undefined) return `\\${found}`
    used.push(values[Number(place) - 1])
    return '?'
  })
  return { text: rewritten, values: used }
}

/** A column's name as the statement has it, where a library was told to write names in another way: `isNew`, `IsNew`, `is-new` → `is_new`. */
export function columnName(name: string): string {
  return name.replaceAll(/(?<=.)(?=[A-Z])/g, '_').replaceAll('-', '_').toLowerCase()
}
