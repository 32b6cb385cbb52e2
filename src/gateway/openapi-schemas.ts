import { type JsonSchema, isRecord } from './json-shape.ts'

/** Where the schemas of a document are. */
const SHELF = '#/components/schemas/'

/** The schemas of a document, each once, by name. */
export class SchemaShelf {
  readonly #schemas = new Map<string, unknown>()

  /** Puts a schema onto the shelf and gives a reference to it. Another schema of the same name gets a number behind it. */
  put(name: string, schema: JsonSchema): JsonSchema {
    for (let count = 1; ; count++) {
      const unique = count === 1 ? name : `${name}.${count}`
      const put = embedded(schema, unique)
      const known = this.#schemas.get(unique)
      if (known === undefined) this.#schemas.set(unique, put)
      if (known === undefined || JSON.stringify(known) === JSON.stringify(put)) return { $ref: `${SHELF}${unique}` }
    }
  }

  /** Everything on the shelf, by name. */
  all(): Readonly<Record<string, unknown>> {
    return Object.fromEntries([...this.#schemas].toSorted(([left], [right]) => (left < right ? -1 : 1)))
  }
}

/** A schema with its references rewritten, since it is no document of its own any more. */
export function embedded(schema: unknown, name: string): unknown {
  if (Array.isArray(schema)) return schema.map((item) => embedded(item, name))
  if (!isRecord(schema)) return schema
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([word]) => word !== '$schema' && word !== '$id')
      .map(([word, value]) => [word, word === '$ref' && typeof value === 'string' && value.startsWith('#') && !value.startsWith(SHELF) ? `${SHELF}${name}${value.slice(1)}` : embedded(value, name)]),
  )
}

/** An object's schema without some of its fields, which come from elsewhere. */
export function withoutFields(schema: JsonSchema, names: readonly string[]): JsonSchema {
  const { properties, required } = schema
  if (names.length === 0 || !isRecord(properties)) return schema
  const left = Object.fromEntries(Object.entries(properties).filter(([name]) => !names.includes(name)))
  const { required: _dropped, ...rest } = schema
  const needed = Array.isArray(required) ? required.filter((name) => !names.includes(String(name))) : []
  return { ...rest, properties: left, ...(needed.length === 0 ? {} : { required: needed }) }
}

/** The schema of a problem (RFC 9457). */
export const problemSchema: JsonSchema = {
  type: 'object',
  description: 'A problem as RFC 9457 describes it.',
  properties: {
    type: { type: 'string', format: 'uri-reference' },
    title: { type: 'string' },
    status: { type: 'integer', minimum: 400, maximum: 599 },
    detail: { type: 'string' },
    code: { type: 'string', description: 'What happened, for programs.' },
    correlationId: { type: 'string', description: 'Finds the request in the logs.' },
    issues: {
      type: 'array',
      items: { type: 'object', properties: { path: { type: 'string' }, rule: { type: 'string' } }, required: ['path', 'rule'] },
    },
  },
  required: ['type', 'title', 'status', 'detail', 'code', 'correlationId'],
}
