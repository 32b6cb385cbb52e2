import { complaint, lineAt, type SourceFile } from './source-file.ts'

const DECLARATION =
  /^export\s+(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?(?:function\*?|class|interface|type|const|let)\s+([A-Za-z_$][\w$]*)/gm

/** Exported declarations without a doc comment right before them. Overloads need one, on the first. */
export function docCommentComplaints(file: SourceFile): readonly string[] {
  const seen = new Set<string>()
  const found: string[] = []
  for (const match of file.code.matchAll(DECLARATION)) {
    const name = match[1] ?? ''
    if (seen.has(name)) continue
    seen.add(name)
    const problem = docProblem(file.text.slice(0, match.index).trimEnd())
    if (problem !== undefined) found.push(complaint(file, lineAt(file.code, match.index), `${name} ${problem}`))
  }
  return found
}

function docProblem(before: string): string | undefined {
  if (!before.endsWith('*/')) return 'has no doc comment'
  const comment = before.slice(before.lastIndexOf('/*'))
  if (!comment.startsWith('/**')) return 'has no doc comment'
  const words = comment.replaceAll(/^[/*\s]+|[*/\s]+$/g, '')
  return words.includes(' ') ? undefined : 'has a doc comment without a sentence'
}
