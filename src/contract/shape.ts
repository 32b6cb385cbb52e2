import { fingerprintOf } from './fingerprint.ts'
import type { Schema } from './schema.ts'

const shapes = new WeakMap<Schema, boolean>()

/** True where what a schema gives back can be given to it again: the same JSON types in and out. */
export function keepsShape(schema: Schema): boolean {
  let keeps = shapes.get(schema)
  if (keeps === undefined) {
    keeps = comparesShapes(schema)
    shapes.set(schema, keeps)
  }
  return keeps
}

function comparesShapes(schema: Schema): boolean {
  const { jsonSchema } = schema['~standard']
  if (jsonSchema === undefined) return false
  try {
    const bare = (shape: Record<string, unknown>): string => fingerprintOf(withoutPresence(shape))
    return bare(jsonSchema.input({ target: 'draft-2020-12' })) === bare(jsonSchema.output({ target: 'draft-2020-12' }))
  } catch {
    return false
  }
}

/** Drops what differs between input and output only by defaults and unknown fields. */
function withoutPresence(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutPresence)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name, item]) => !(name === 'required' && Array.isArray(item)) && !(name === 'additionalProperties' && typeof item !== 'object'))
      .map(([name, item]) => [name, withoutPresence(item)]),
  )
}
