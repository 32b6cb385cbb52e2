import { createHash } from 'node:crypto'
import { TrunklineError } from '../core/errors.ts'

const TAG = /^(W\/)?"([\u0021\u0023-\u007e\u0080-\u00ff]*)"$/
const TAGS_MAX = 50

/** The ETag of a version that an answer tells; what does not fit into one is hashed. */
export function tagOf(version: string | number | bigint): string {
  const text = String(version)
  return /^[\u0021\u0023-\u007e]{1,200}$/.test(text) ? `"${text}"` : hashTag(Buffer.from(text))
}

/** The ETag of bytes: equal for equal ones. */
export function hashTag(bytes: Uint8Array): string {
  return `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 27)}"`
}

/** True where If-None-Match names the tag: the caller has this answer already. Weak and strong tags are equal here (RFC 9110, 13.1.2). */
export function isKnown(header: string | null, tag: string): boolean {
  if (header === null) return false
  if (header.trim() === '*') return true
  return header.split(',', TAGS_MAX).some((part) => TAG.exec(part.trim())?.[2] === TAG.exec(tag)?.[2])
}

/**
 * The version that If-Match names; undefined without the header.
 *
 * @throws `gateway.request_malformed` for `*`, weak tags, and more than one: the service decides, and it compares with one version.
 */
export function matchedVersion(header: string | null): string | undefined {
  if (header === null) return undefined
  const [, weak, version] = TAG.exec(header.trim()) ?? []
  if (version === undefined || weak !== undefined) throw new TrunklineError('gateway.request_malformed', { part: 'If-Match header', problem: 'it is not one strong ETag, such as "7"' })
  return version
}
