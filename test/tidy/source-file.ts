import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The repository. */
export const rootDir: string = dirname(dirname(import.meta.dirname))

/** One import or re-export of a file. */
export interface Import {
  /** As written: `../core/errors.ts`, `node:crypto`, `zod`. */
  readonly specifier: string
  /** `type`: erased by the compiler. `dynamic`: `import()` at run time. */
  readonly kind: 'value' | 'type' | 'dynamic'
  readonly line: number
}

/** A TypeScript file, prepared for rules that look at its text. */
export interface SourceFile {
  /** From the repository's root, with `/`. */
  readonly path: string
  readonly text: string
  /** `text` of equal length with comments and the insides of string literals as spaces. */
  readonly code: string
  readonly imports: readonly Import[]
}

/** Prepares a file from its text; planted violations come this way. */
export function sourceFile(path: string, text: string): SourceFile {
  const { code, withStrings } = blank(text)
  return { path, text, code, imports: importsOf(code, withStrings) }
}

/** Paths of the files that belong to the repository: everything but what .gitignore names. Needs no git. */
export function repositoryPaths(): readonly string[] {
  const ignored = readFileSync(join(rootDir, '.gitignore'), 'utf8').split('\n').map((line) => line.trim().replaceAll('/', ''))
  const isIgnored = (name: string): boolean =>
    name === '.git' || ignored.some((pattern) => pattern === name || (pattern.startsWith('*.') && name.endsWith(pattern.slice(1))))
  const walk = (folder: string): readonly string[] =>
    readdirSync(join(rootDir, folder), { withFileTypes: true })
      .filter((entry) => !isIgnored(entry.name) && (entry.isDirectory() || entry.isFile()))
      .flatMap((entry) => (entry.isDirectory() ? walk(`${folder}${entry.name}/`) : [`${folder}${entry.name}`]))
  return walk('')
}

/** The TypeScript files under a folder of the repository, `src/` for instance. */
export function sourceFiles(folder: string): readonly SourceFile[] {
  return repositoryPaths()
    .filter((path) => path.startsWith(folder) && path.endsWith('.ts'))
    .map((path) => sourceFile(path, readFileSync(join(rootDir, path), 'utf8')))
}

/** `path:line message`, as editors can follow it. */
export function complaint(file: SourceFile, line: number, message: string): string {
  return `${file.path}:${line} ${message}`
}

/** One complaint for each place where a pattern, which must be global, matches the code. */
export function complaintsAbout(file: SourceFile, pattern: RegExp, message: string): readonly string[] {
  return [...file.code.matchAll(pattern)].map((match) => complaint(file, lineAt(file.code, match.index), `${message}: ${match[0].trim()}`))
}

/** 1-based line of an offset. */
export function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length
}

function importsOf(code: string, withStrings: string): readonly Import[] {
  const found: Import[] = []
  const add = (match: RegExpExecArray, specifier: string | undefined, kind: Import['kind']): void => {
    // A blank in `code` means that this stands inside a text.
    const isCode = /^\s*(?:import|export|typeof)\b/.test(code.slice(match.index, match.index + 40))
    if (specifier !== undefined && isCode) found.push({ specifier, kind, line: lineAt(code, match.index) })
  }
  const statements = /^[ \t]*(?:import|export)\s+(type\s+)?([\w*{][^'"`;=()]*?)\s*from\s*['"]([^'"]+)['"]/gm
  for (const match of withStrings.matchAll(statements)) {
    const names = match[2]?.trim() ?? ''
    const inner = names.startsWith('{') ? names.slice(1, -1).split(',').map((name) => name.trim()).filter((name) => name !== '') : []
    const isType = match[1] !== undefined || (inner.length > 0 && inner.every((name) => name.startsWith('type ')))
    add(match, match[3], isType ? 'type' : 'value')
  }
  for (const match of withStrings.matchAll(/^[ \t]*import\s*['"]([^'"]+)['"]/gm)) add(match, match[1], 'value')
  // `typeof import('x')` and `import('x').Name` in a type are erased; anything else runs.
  for (const match of withStrings.matchAll(/(typeof\s+)?\bimport\s*\(\s*['"]([^'"]+)['"]\s*\)(\s*\.\s*[A-Z])?/g)) {
    add(match, match[2], match[1] === undefined && match[3] === undefined ? 'dynamic' : 'type')
  }
  return found
}

/** Both views of a text: without comments and string insides, and without comments alone. */
function blank(text: string): { readonly code: string; readonly withStrings: string } {
  // One UTF-16 unit each, so that offsets in all three texts are the same.
  const code: string[] = []
  const withStrings: string[] = []
  let at = 0
  const keep = (length: number): void => {
    for (const end = at + length; at < end; at++) {
      code.push(text[at] ?? '')
      withStrings.push(text[at] ?? '')
    }
  }
  const drop = (end: number, isString: boolean): void => {
    for (; at < end; at++) {
      const unit = text[at] ?? ''
      code.push(unit === '\n' ? '\n' : ' ')
      withStrings.push(isString || unit === '\n' ? unit : ' ')
    }
  }
  const templates: number[] = []
  let depth = 0
  const template = (): void => {
    drop(templateEnd(text, at), true)
    if (text.startsWith('${', at)) {
      keep(2)
      templates.push(depth)
    } else {
      keep(1)
    }
  }
  while (at < text.length) {
    const rest = text.slice(at, at + 2)
    const unit = text[at] ?? ''
    if (rest === '//') drop(endOf(text, '\n', at, 0), false)
    else if (rest === '/*') drop(endOf(text, '*/', at + 2, 2), false)
    else if (unit === "'" || unit === '"') {
      keep(1)
      drop(quoteEnd(text, at, unit), true)
      keep(1)
    } else if (unit === '`') {
      keep(1)
      template()
    } else if (unit === '/' && startsRegExp(code)) {
      keep(1)
      drop(regExpEnd(text, at), true)
      keep(1)
    } else if (unit === '}' && templates.at(-1) === depth) {
      templates.pop()
      keep(1)
      template()
    } else {
      if (unit === '{') depth++
      if (unit === '}') depth--
      keep(1)
    }
  }
  return { code: code.join(''), withStrings: withStrings.join('') }
}

function endOf(text: string, mark: string, from: number, extra: number): number {
  const end = text.indexOf(mark, from)
  return end < 0 ? text.length : end + extra
}

function quoteEnd(text: string, from: number, quote: string): number {
  let at = from
  while (at < text.length && text[at] !== quote && text[at] !== '\n') at += text[at] === '\\' ? 2 : 1
  return Math.min(at, text.length)
}

function templateEnd(text: string, from: number): number {
  let at = from
  while (at < text.length && text[at] !== '`' && !text.startsWith('${', at)) at += text[at] === '\\' ? 2 : 1
  return Math.min(at, text.length)
}

function regExpEnd(text: string, from: number): number {
  let at = from
  let isInClass = false
  while (at < text.length && text[at] !== '\n' && (isInClass || text[at] !== '/')) {
    if (text[at] === '[') isInClass = true
    if (text[at] === ']') isInClass = false
    at += text[at] === '\\' ? 2 : 1
  }
  return Math.min(at, text.length)
}

/** A slash divides after a value and starts a regular expression after anything else. */
function startsRegExp(code: readonly string[]): boolean {
  const before = code.slice(-40).join('').trimEnd()
  return before === '' || /[(,=:[!&|?{};+*%<>~^-]$/.test(before) || /\b(?:return|typeof|case|in|of|do|else|yield|await|void)$/.test(before)
}
